<?php
// Tasks over HTTP with PHP and no extension: add two, look at one, and delete it.
//
//     $ export QUEBERT_URL=http://localhost:8080 QUEBERT_TOKEN=qbt_...
//     $ php add_task.php 4711
declare(strict_types=1);

function call(string $method, string $path, ?array $body = null, ?string $key = null): array
{
    $headers = ['Authorization: Bearer ' . getenv('QUEBERT_TOKEN')];
    if ($body !== null) {
        $headers[] = 'Content-Type: application/json';
    }
    if ($key !== null) {
        $headers[] = "Idempotency-Key: $key";
    }
    $context = stream_context_create(['http' => [
        'method' => $method,
        'header' => $headers,
        'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
        'ignore_errors' => true, // what is wrong is in the body
        'timeout' => 30,
    ]]);
    $api = (getenv('QUEBERT_URL') ?: 'http://localhost:8080') . '/v1';
    $answer = file_get_contents($api . $path, false, $context);
    if ($answer === false) {
        exit(1); // a warning has told why
    }
    $status = (int) explode(' ', $http_response_header[0])[1];
    if ($status >= 400) {
        fwrite(STDERR, "$method $path: $status $answer\n"); // the problem, as JSON
        exit(1);
    }
    return json_decode($answer, true, 512, JSON_THROW_ON_ERROR);
}

$order = $argv[1];
$executor = getenv('EXECUTOR_URL') ?: 'http://localhost:8000';

// The key makes it one task, however often this request is made.
$greeting = call('POST', '/tasks', [
    'url' => "$executor/hello",
    'params' => ['name' => 'Ada'],
    'name' => "greeting-$order",
], "greeting-$order");
echo "added {$greeting['uuid']}\n";

// One that is not due for a week is there, until it is deleted.
['uuid' => $uuid] = call('POST', '/tasks', [
    'url' => "$executor/hello",
    'params' => ['name' => 'Ada, again'],
    'name' => "reminder-$order",
    'delay' => 7 * 86_400,
]);
$task = call('GET', "/tasks/$uuid");
echo "state {$task['created']['state']}\n";
$deleted = call('DELETE', "/tasks/$uuid");
echo "result {$deleted['result']}\n";
