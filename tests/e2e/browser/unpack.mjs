// Takes the parts of the browser's package out of their compression: node unpack.mjs FROM TO NAME...
import { createReadStream, createWriteStream, mkdirSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [from, to, ...names] = process.argv.slice(2);
mkdirSync(to, { recursive: true });
for (const name of names)
  await pipeline(
    createReadStream(`${from}/${name}.br`),
    createBrotliDecompress(),
    createWriteStream(`${to}/${name}`, { mode: 0o755 }),
  );
