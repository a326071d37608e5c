/** `POST /v1/mask`: which tokens may follow, for search loops that are not ours. */
import { bodyOf, json, onIndex, type Route, rowsOf } from "../request_context.ts";
import { Refusal } from "../error_response.ts";

/** Where prefixes are looked up. */
export const maskRoute: Route = {
  method: "POST",
  async answer(server, context) {
    const { settings: { limits }, schemas } = server;
    const { trace, checkTime } = context;
    const body = await bodyOf(schemas.mask, server, context);
    return await onIndex(server, context, ({ index, filters }) =>
      trace.phase("mask", () => {
        let left = limits.maskTokens;
        const rows = rowsOf("prefixes", body.prefixes, body.filter, limits.filterTerms);
        const results = rows.map(({ tokens, filter, field }) => {
          checkTime();
          filters.trim();
          const compiled = filter === undefined ? undefined : filters.get(filter, field);
          const allowed = Array.from(index.allowedTokens(tokens, compiled));
          left -= allowed.length;
          if (left >= 0) return { allowed, canEnd: index.canEnd(tokens, compiled) };
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
