// A suite for @google-cloud/tasks, Google's client for Node: node --test.  MODULES is the
// folder that has the package; TRANSPORT is rest or grpc; SCHEME, HOST, PORT, TOKEN and
// READ_TOKEN are those of the server.
import assert from 'node:assert/strict';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {test} from 'node:test';

const {HOST, MODULES, PORT, READ_TOKEN, SCHEME, TOKEN, TRANSPORT} = process.env;
const require = createRequire(join(MODULES, 'x.js'));
const {CloudTasksClient} = require('@google-cloud/tasks');
const {OAuth2Client} = require('google-auth-library');

const REST = TRANSPORT === 'rest';
const LOCATION = 'projects/shop/locations/here';
const UNKNOWN = 'Requested entity was not found.';
const NO_QUEUE =
  'Queue does not exist. If you just created the queue, wait at least a minute for the' +
  ' queue to initialize.';
const client = clientOf(TOKEN);
let number = 0;

function clientOf(token) {
  const authClient = new OAuth2Client();
  authClient.setCredentials({access_token: token, expiry_date: Date.now() + 1e9});
  const server = {servicePath: HOST, port: Number(PORT), authClient, projectId: 'shop'};
  return new CloudTasksClient(
    REST ? {fallback: true, protocol: SCHEME, ...server} : server,
  );
}

// See that a promise fails as Google's would: gRPC's code and details, or over REST the
// status of HTTP and the whole JSON.
async function refused(promise, code, status, text) {
  const error = await promise.then(
    () => assert.fail('it is not refused'),
    found => found,
  );
  const message = REST ? JSON.parse(error.message).error.message : error.details;
  assert.deepEqual([error.code, message], [REST ? status : code, text]);
  return error;
}

async function makeQueue(fields = {}) {
  const name = `${LOCATION}/queues/node-${TRANSPORT}-${++number}`;
  const [queue] = await client.createQueue({parent: LOCATION, queue: {name, ...fields}});
  return queue;
}

const later = () => ({seconds: Math.floor(Date.now() / 1000) + 3600});

async function makeTask(queue, id, fields = {}) {
  const name = id && `${queue}/tasks/${id}`;
  const httpRequest = {url: 'http://127.0.0.1:9/work'};
  const task = {name, httpRequest, scheduleTime: later(), ...fields};
  const [made] = await client.createTask({parent: queue, task});
  return made;
}

test('all fields of a task come back', async () => {
  const {name: queue} = await makeQueue();
  const {seconds} = later();
  const task = {
    name: `${queue}/tasks/all_Fields-1`,
    httpRequest: {
      url: 'https://127.0.0.1:9/x?a=b',
      httpMethod: 'PUT',
      headers: {'X-Mixed-Case': 'b'},
      body: Buffer.from([0, 255, 104]),
      oidcToken: {serviceAccountEmail: 'a@b.c', audience: 'us'},
    },
    scheduleTime: {seconds, nanos: 456789000},
    dispatchDeadline: {seconds: 20, nanos: 500000000},
  };
  const [made] = await client.createTask({parent: queue, task, responseView: 'FULL'});
  const [got] = await client.getTask({name: task.name, responseView: 'FULL'});
  for (const found of [made, got]) {
    const request = found.httpRequest;
    assert.equal(found.name, task.name);
    assert.equal(request.url, task.httpRequest.url);
    assert.equal(request.httpMethod, 'PUT');
    assert.deepEqual(request.headers, {
      'X-Mixed-Case': 'b',
      'User-Agent': 'Google-Cloud-Tasks',
    });
    assert.deepEqual(Buffer.from(request.body, 'base64'), task.httpRequest.body);
    assert.equal(request.oidcToken.serviceAccountEmail, 'a@b.c');
    assert.equal(Number(found.scheduleTime.seconds), seconds);
    assert.equal(found.scheduleTime.nanos, 456789000);
    assert.equal(Number(found.dispatchDeadline.seconds), 20);
    assert.equal(found.dispatchDeadline.nanos, 500000000);
    assert.equal(found.view, 'FULL');
  }
  const [basic] = await client.getTask({name: task.name});
  assert.equal(basic.httpRequest.body.length, 0);
  assert.equal(basic.view, 'BASIC');
});

test('a name that is taken is refused', async () => {
  const {name} = await makeQueue();
  await makeTask(name, 'once');
  const text = 'Requested entity already exists';
  await refused(makeTask(name, 'once'), 6, 409, text);
});

test('tasks are listed in pages', async () => {
  const {name: parent} = await makeQueue();
  const made = [];
  for (let n = 0; n < 5; n++) made.push((await makeTask(parent)).name);
  const [all] = await client.listTasks({parent, pageSize: 2});
  assert.deepEqual(all.map(task => task.name).sort(), made.sort());
  const asked = {parent, pageSize: 2, responseView: 'FULL'};
  const [page, next] = await client.listTasks(asked, {autoPaginate: false});
  assert.equal(page.length, 2);
  assert.ok(next.pageToken);
});

test('a task is run and deleted', async () => {
  const {name: queue} = await makeQueue();
  const {name} = await makeTask(queue, 'one');
  assert.equal((await client.runTask({name}))[0].name, name);
  const other = await makeTask(queue, 'two');
  await client.deleteTask({name: other.name});
  const text =
    'The task no longer exists, though a task with this name existed recently. The' +
    ' task either successfully completed or was deleted.';
  await refused(client.getTask({name: other.name}), 5, 404, text);
  for (const call of ['getTask', 'deleteTask', 'runTask']) {
    await refused(client[call]({name: `${queue}/tasks/unknown`}), 5, 404, UNKNOWN);
  }
});

test('a task that cannot be is refused', async () => {
  const {name: queue} = await makeQueue();
  const error = await refused(
    makeTask(queue, 'not a valid id'),
    3,
    400,
    'Task ID "not a valid id" can contain only letters ([A-Za-z]), numbers ([0-9]),' +
      ' hyphens (-), or underscores (_). Task ID must between 1 and 500 characters.',
  );
  const details = REST ? JSON.parse(error.message).error.details : error.statusDetails;
  assert.equal(details[0].links.length, 1);
  const text = 'HttpRequest.url is required.';
  await refused(makeTask(queue, '', {httpRequest: {url: ''}}), 3, 400, text);
  await refused(makeTask(`${LOCATION}/queues/unknown`), 5, 404, NO_QUEUE);
});

test('all fields of a queue come back', async () => {
  const made = await makeQueue({
    rateLimits: {maxDispatchesPerSecond: 0.5, maxConcurrentDispatches: 3},
    retryConfig: {
      maxAttempts: -1,
      maxRetryDuration: {seconds: 7200},
      minBackoff: {seconds: 1, nanos: 500000000},
      maxBackoff: {seconds: 60},
      maxDoublings: 3,
    },
  });
  const [found] = await client.getQueue({name: made.name});
  assert.deepEqual(found, made);
  assert.equal(found.state, 'RUNNING');
  assert.equal(found.rateLimits.maxDispatchesPerSecond, 0.5);
  assert.equal(found.rateLimits.maxConcurrentDispatches, 3);
  assert.equal(found.retryConfig.maxAttempts, -1);
  assert.equal(Number(found.retryConfig.maxRetryDuration.seconds), 7200);
  assert.equal(found.retryConfig.minBackoff.nanos, 500000000);
});

test('a mask says which fields of a queue are changed', async () => {
  const {name} = await makeQueue({retryConfig: {maxAttempts: 7, maxDoublings: 2}});
  const [found] = await client.updateQueue({
    queue: {
      name,
      rateLimits: {maxDispatchesPerSecond: 5},
      retryConfig: {maxAttempts: 3},
    },
    updateMask: {
      paths: ['rate_limits.max_dispatches_per_second', 'retry_config.max_attempts'],
    },
  });
  assert.equal(found.rateLimits.maxDispatchesPerSecond, 5);
  assert.equal(found.rateLimits.maxConcurrentDispatches, 1000);
  assert.equal(found.retryConfig.maxAttempts, 3);
  assert.equal(found.retryConfig.maxDoublings, 2);
});

test('a queue is paused, resumed, purged, listed and deleted', async () => {
  const {name} = await makeQueue();
  assert.equal((await client.pauseQueue({name}))[0].state, 'PAUSED');
  assert.equal((await client.resumeQueue({name}))[0].state, 'RUNNING');
  assert.ok(Number((await client.purgeQueue({name}))[0].purgeTime.seconds) > 1e9);
  await makeQueue();
  const [all] = await client.listQueues({parent: LOCATION, pageSize: 1});
  assert.ok(all.length > 1 && all.some(queue => queue.name === name));
  const queue = {name};
  const taken = 'Queue already exists';
  await refused(client.createQueue({parent: LOCATION, queue}), 6, 409, taken);
  await client.deleteQueue({name});
  const text =
    'The queue cannot be created because a queue with this name existed too recently.';
  await refused(client.createQueue({parent: LOCATION, queue}), 9, 400, text);
  const unknown = {name: `${LOCATION}/queues/unknown`};
  await refused(client.deleteQueue(unknown), 5, 404, UNKNOWN);
  for (const call of ['getQueue', 'pauseQueue', 'resumeQueue', 'purgeQueue']) {
    await refused(client[call](unknown), 5, 404, NO_QUEUE);
  }
});

test('another project is refused, with the reason', async () => {
  const parent = 'projects/foreign/locations/here';
  const queue = {name: `${parent}/queues/q`};
  const text = 'Permission denied on resource project foreign.';
  const error = await refused(client.createQueue({parent, queue}), 7, 403, text);
  if (!REST) assert.equal(error.reason, 'CONSUMER_INVALID');
});

test('tokens have rights', async () => {
  const reader = clientOf(READ_TOKEN);
  await reader.listQueues({parent: LOCATION});
  const queue = {name: `${LOCATION}/queues/no`};
  const create = token => clientOf(token).createQueue({parent: LOCATION, queue});
  for (const [token, code, status] of [
    [READ_TOKEN, 7, 403],
    ['qbt_unknown', 16, 401],
  ]) {
    const error = await create(token).then(() => assert.fail('let in'), e => e);
    assert.equal(error.code, REST ? status : code);
  }
  const permissions = ['cloudtasks.tasks.create', 'cloudtasks.tasks.get'];
  const {name: resource} = await makeQueue();
  const [found] = await reader.testIamPermissions({resource, permissions});
  assert.deepEqual(found.permissions, ['cloudtasks.tasks.get']);
});
