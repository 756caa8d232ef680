#!/usr/bin/env node
// next_token.mjs [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (redis 4 or later).
import { createHash } from "node:crypto";
import { createClient } from "redis";

const client = createClient({
  url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379",
  socket: { reconnectStrategy: () => new Error("Redis is out of reach") },
});
client.on("error", () => {}); // each call throws it too

async function nextToken(refused, patience = 60) {
  const fingerprint = refused && createHash("sha256").update(refused).digest("hex").slice(0, 16);
  const report = JSON.stringify({ fingerprint, reason: refused && "401", source: "next_token.mjs" });
  const subscriber = client.duplicate();
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no outcome in ${patience} s`)), patience * 1000);
      subscriber.on("error", reject);
      const look = async () => {
        const token = await client.get("chitai_gorod_token");
        if (token && token !== refused) resolve(token);
        return token;
      };
      const receive = (text) => {
        const event = JSON.parse(text);
        if (event.event === "token:failed") reject(new Error(event.error));
        else if (event.fingerprint !== fingerprint) look().catch(reject); // otherwise it answers another client
      };
      const ask = async () => {
        await subscriber.connect();
        await subscriber.subscribe(["chitai_gorod:token:updated", "chitai_gorod:token:failed"], receive); // confirmed
        const token = await look();
        if (token && token !== refused) return;
        const receivers = await client.publish("chitai_gorod:token:invalid", report);
        if (receivers === 0) throw Object.assign(new Error("no sidecar listens"), { code: 69 });
      };
      ask().catch(reject);
    });
  } finally {
    clearTimeout(timer);
    await subscriber.disconnect().catch(() => {});
  }
}

try {
  await client.connect();
  console.log(await nextToken(process.argv[2], process.argv[3]));
  await client.disconnect();
} catch (error) {
  console.error(error.message);
  process.exit(error.code === 69 ? 69 : 75);
}
