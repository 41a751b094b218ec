// Receive notes as they are written, stop half way, and continue: node examples/node/stream.mjs [HOST:PORT]
import { deadline, generate, run, save } from "./fantasia.mjs";

const REQUEST = { bars: 8, seed: "7" };

await run(async (client) => {
  const stream = client.StreamGenerate({ request: REQUEST, resume_tokens: true }, deadline());
  let token, length;
  try {
    for await (const message of stream) {
      if (message.start) length = message.start.length_ticks;
      token = message.resume_token;
      console.log(`final up to tick ${message.watermark_ticks}: ${message.notes.length} notes`);
      if (2 * message.watermark_ticks >= length) stream.cancel();
    }
  } catch (error) {
    if (error.details !== "Cancelled on client") throw error;
  }
  const continued = await generate(client, { ...REQUEST, resume_token: token });
  const whole = await generate(client, REQUEST);
  save(continued, "streamed.mid");
  console.log(`the same as without the stop: ${continued.pieces[0].midi.equals(whole.pieces[0].midi)}`);
});
