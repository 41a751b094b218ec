// Continue a primer of one bar for seven bars: node examples/node/continue.mjs [HOST:PORT]
import { generate, line, run, save } from "./fantasia.mjs";

// Soprano, alto, tenor, bass, in quarter notes.
const PARTS = [
  [[67, 2], [69, 2], [71, 2], [67, 2]],
  [[62, 2], [62, 2], [62, 2], [64, 2]],
  [[59, 2], [54, 2], [55, 2], [55, 2]],
  [[43, 2], [50, 2], [43, 2], [48, 2]],
];

await run(async (client) => {
  const notes = { notes: PARTS.flatMap(line), meter: { numerator: 4, denominator: 4 }, tempo_bpm: 72 };
  const response = await generate(client, { given: { notes }, bars: 7, seed: "3" });
  save(response, "continued.mid");
  console.log(`the added part begins at tick ${response.given.length_ticks}`);
});
