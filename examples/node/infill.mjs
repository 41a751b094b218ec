// Write bars 5 and 6 of a piece anew: node examples/node/infill.mjs [HOST:PORT]
import { generate, run, save } from "./fantasia.mjs";

await run(async (client) => {
  const before = await generate(client, { bars: 8, seed: "7" });
  save(before, "before.mid");
  const request = {
    given: { midi: before.pieces[0].midi },
    rewrite: [{ bars: { first: 5, last: 6 } }],
    candidates: 16,
    seed: "1",
  };
  save(await generate(client, request), "after.mid");
});
