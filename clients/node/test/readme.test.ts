// The snippets of the README run as they stand, but for the two addresses in them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { test } from "node:test";

import { World } from "./world.js";

const snippets = readFileSync("README.md", "utf8")
  .split("```js\n")
  .slice(1)
  .map((part) => part.split("```")[0] ?? "");

/** What each of them prints, in their order. */
const OUTPUTS = [/^200\n$/, /^$/, /^1 \[.*\] Mozilla/, /^$/, /^start token-sidecar\n$/, /^Mozilla/];

test("every snippet of the README runs", async (t) => {
  assert.equal(snippets.length, OUTPUTS.length);
  const world = await World.start(t);
  await world.sidecar();
  for (const [index, snippet] of snippets.entries()) {
    await t.test(/from "token-sidecar-client";\n\n(.*)/.exec(snippet)?.[1] ?? snippet, async () => {
      const script = snippet
        .replaceAll("redis://127.0.0.1:6379", world.url)
        .replaceAll("https://web-agr.chitai-gorod.ru", world.simulator);
      const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
      const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
      assert.equal(child.exitCode, 0, errors);
      assert.match(output + errors, OUTPUTS[index] ?? /^$/);
    });
  }
});
