// amqplib and undici: what one writes by hand, for just this.
//
//     node worker.js AMQP_URL QUEUE CONCURRENCY TIMEOUT

import amqp from "amqplib";
import { Agent, request } from "undici";

const [url, queue, concurrency, timeout] = process.argv.slice(2);
const dispatcher = new Agent({
  connections: Number(concurrency),
  headersTimeout: Number(timeout) * 1000,
  bodyTimeout: Number(timeout) * 1000,
});
const headers = { "content-type": "application/json" };

// Whether the whole answer to the task is a 2xx.
async function posted(body) {
  try {
    const { url } = JSON.parse(body);
    const options = { dispatcher, method: "POST", headers, body };
    const answer = await request(url, options);
    await answer.body.dump();
    return answer.statusCode >= 200 && answer.statusCode < 300;
  } catch {
    return false;
  }
}

const connection = await amqp.connect(url);
const channel = await connection.createChannel();
await channel.prefetch(Number(concurrency));
await channel.assertQueue(queue, { durable: true });
await channel.consume(queue, async (message) => {
  if (await posted(message.content)) channel.ack(message);
  else channel.nack(message, false, true);
});
