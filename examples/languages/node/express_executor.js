// An executor with Express 5.
//
//     $ npm install express@5 standardwebhooks@1
//     $ node express_executor.js
//     tasks at http://127.0.0.1:8000/
//
// With TASK_SECRET=whsec_... only requests are taken that are signed with this secret:
// a line of the file that "quebert secret" has made.
"use strict";
const express = require("express");
const { Webhook } = require("standardwebhooks");

const secret = process.env.TASK_SECRET;
const webhook = secret ? new Webhook(secret) : null;
const app = express();
let ending = false;

// Express takes 100 kB otherwise.  Signatures are of the text, before it is decoded.
app.use(express.text({ type: "application/json", limit: "16mb" }));
app.use((request, response, next) => {
  if (ending) response.set("Connection", "close");
  if (typeof request.body !== "string") {
    return response.status(415).type("text").send("a task is JSON");
  }
  try {
    const { body, headers } = request;
    request.task = webhook ? webhook.verify(body, headers) : JSON.parse(body);
  } catch (error) {
    const status = error instanceof SyntaxError ? 400 : 401;
    return response.status(status).type("text").send(error.message);
  }
  next();
});

app.post("/hello", async (request, response) => {
  response.json({ said: `hello, ${request.task.params.name}` });
});

// One sentence, rather than a page of HTML, for the log of the mediator.
app.use((error, request, response, next) => {
  if (response.headersSent) return next(error);
  response.status(error.status ?? 500).type("text").send(error.message);
});

const port = Number(process.env.PORT ?? 8000);
const server = app.listen(port, "127.0.0.1", () => {
  console.log(`tasks at http://127.0.0.1:${port}/`);
});
// More than the four seconds for which a mediator keeps an idle connection.
server.keepAliveTimeout = 60_000;
process.on("SIGTERM", () => {
  ending = true;
  server.close();
  server.closeIdleConnections();
});
