// Compose one piece and save it as MIDI: node examples/node/generate.mjs [HOST:PORT]
import { generate, run, save } from "./fantasia.mjs";

await run(async (client) => {
  const request = { bars: 8, seed: "7", tempo_bpm: 96, sampling: { temperature: 0.9 } };
  save(await generate(client, request), "piece.mid");
});
