// What the other programs share: the connection, one call, a file. It needs the .proto file only.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PROTO = fileURLToPath(new URL("../../proto/fantasia/v1/generation.proto", import.meta.url));
const SECONDS = 60;

// Strings for 64-bit integers, since a seed does not fit a JavaScript number.
const definition = protoLoader.loadSync(PROTO, { keepCase: true, longs: String, enums: String, defaults: true });
const { fantasia } = grpc.loadPackageDefinition(definition);

/** A client of the server that the command line names. */
export function connect() {
  return new fantasia.v1.GenerationService(process.argv[2] ?? "localhost:50051", grpc.credentials.createInsecure());
}

/** When a call that begins now has to be over. */
export function deadline() {
  return { deadline: Date.now() + SECONDS * 1000 };
}

/** The response to a GenerateRequest. */
export function generate(client, request) {
  return promisify(client.Generate.bind(client))(request, deadline());
}

/** Write the MIDI file of the best piece of a response. */
export function save(response, path) {
  const piece = response.pieces[0];
  writeFileSync(path, piece.midi);
  console.log(`${path}: ${piece.notes.length} notes, seed ${piece.seed}, model ${response.model}`);
}

/** Run a program with a client. If a call fails, its status is printed and the exit code is 1. */
export async function run(program) {
  const client = connect();
  try {
    await program(client);
  } catch (error) {
    if (error.code === undefined) throw error;
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
  } finally {
    client.close();
  }
}

/** Notes of one voice, one after another, from pairs of pitch and length in eighths. */
export function line(pairs, voice = 0) {
  let tick = 0;
  return pairs.map(([pitch, eighths]) => {
    const note = { onset_ticks: tick, duration_ticks: eighths * 240, pitch, voice };
    tick += note.duration_ticks;
    return note;
  });
}
