// Write three voices to a melody: node examples/node/harmonize.mjs [HOST:PORT]
import { generate, line, run, save } from "./fantasia.mjs";

// Beethoven's Ode to Joy: MIDI note number, length in eighths.
const MELODY = [
  [64, 2], [64, 2], [65, 2], [67, 2], [67, 2], [65, 2], [64, 2], [62, 2],
  [60, 2], [60, 2], [62, 2], [64, 2], [64, 3], [62, 1], [62, 4],
];

await run(async (client) => {
  const notes = { notes: line(MELODY), meter: { numerator: 4, denominator: 4 }, tempo_bpm: 96 };
  const request = {
    given: { notes, voices: [0] },
    rewrite: [{ voices: [1, 2, 3] }],
    candidates: 16,
    seed: "5",
  };
  const response = await generate(client, request);
  save(response, "harmonized.mid");
  const soprano = response.pieces[0].notes.filter((note) => note.voice === 0).map((note) => note.pitch);
  console.log(`the melody is unchanged: ${soprano.join() === MELODY.map(([pitch]) => pitch).join()}`);
});
