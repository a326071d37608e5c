/** `POST /v1/mask`: which tokens may follow, for search loops that are not ours. */
import { rowFilters } from "../../decode/batch_filters.ts";
import { bodyOf, json, onIndex, type Route } from "../request_context.ts";
import { checkDigest, RequestRules, rowsOf } from "../row_rules.ts";
import type { MaskRequest } from "../schemas.ts";
import { Refusal } from "../error_response.ts";

/** Where prefixes are looked up. */
export const maskRoute: Route = {
  method: "POST",
  async answer(server, context) {
    const { settings: { limits }, schemas } = server;
    const { trace, checkTime } = context;
    const body = await bodyOf<MaskRequest>(schemas.mask, server, context);
    return await onIndex(server, context, (lease) =>
      trace.phase("mask", () => {
        const { index, filters } = lease;
        checkDigest(body.index, lease);
        using rules = new RequestRules(lease, limits, checkTime);
        let left = limits.maskTokens;
        const rows = rowsOf("prefixes", body.prefixes, body, limits);
        const results = rows.map((row) => {
          filters.trim();
          const { filter, exclude, excludeItems } = rules.of(row);
          using own = rowFilters(index, {
            filter,
            exclude: [exclude],
            excludeItems: [excludeItems],
          }, 1);
          const allowed = Array.from(index.allowedTokens(row.tokens, own[0]));
          left -= allowed.length;
          if (left >= 0) return { allowed, canEnd: index.canEnd(row.tokens, own[0]) };
          throw new Refusal(
            422,
            "answer-too-large",
            "More tokens may follow than an answer may hold; ask for fewer prefixes at a time",
            { field: "/prefixes", expected: limits.maskTokens },
          );
        });
        return json({ index: index.digest, results });
      }));
  },
};
