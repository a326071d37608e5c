/** Models around models. */
import type { Logits, Model, ModelInput, RunInput } from "./types.ts";

/** The same model, whose calls go through `around`. */
export function wrapModel(
  model: Model,
  around: (call: () => Logits | Promise<Logits>) => Logits | Promise<Logits>,
): Model {
  const { liveRows } = model;
  return Object.assign(
    (input: ModelInput) => around(() => model(input)),
    { liveRows },
    model.scoreRuns && { scoreRuns: (input: RunInput) => around(() => model.scoreRuns!(input)) },
  );
}
