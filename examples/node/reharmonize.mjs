// Write alto, tenor and bass of two bars anew: node examples/node/reharmonize.mjs [HOST:PORT]
import { generate, run, save } from "./fantasia.mjs";

await run(async (client) => {
  const before = await generate(client, { bars: 8, seed: "7" });
  save(before, "before.mid");
  const request = {
    given: { midi: before.pieces[0].midi },
    rewrite: [{ bars: { first: 3, last: 4 }, voices: [1, 2, 3] }],
    constraints: { no_parallels: true },
    candidates: 16,
    seed: "1",
  };
  save(await generate(client, request), "reharmonized.mid");
});
