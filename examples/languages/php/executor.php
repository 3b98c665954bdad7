<?php
// An executor in PHP.  To try it:
//
//     $ PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:8000 executor.php
//
// Without that variable PHP's own server does one task at a time.  In production: FPM.
// With TASK_SECRET=whsec_... only requests are taken that are signed with this secret: a
// line of the file that "quebert secret" has made.
declare(strict_types=1);

// What no further attempt would mend.
class GiveUp extends Exception
{
}

function say(int $status, string $text, string $type = 'text/plain'): never
{
    http_response_code($status);
    header("Content-Type: $type; charset=utf-8");
    echo $text;
    exit;
}

function greet(mixed $params, ?string $lease): array
{
    if (!is_string($params['name'] ?? null)) {
        throw new GiveUp('a greeting needs a name');
    }
    return ['said' => "hello, {$params['name']}"];
}

// Another program goes on for up to an hour after the answer, and ends the lease.
function encode(mixed $params, ?string $lease): never
{
    if ($lease === null) {
        throw new RuntimeException('the queue has no leases');
    }
    $program = escapeshellarg(dirname(__DIR__) . '/shell/encode.sh');
    exec("sh $program " . escapeshellarg($lease) . ' >/dev/null 2>&1 &');
    header('Quebert-Lease: 3600');
    say(202, 'it goes on');
}

// Whether a mediator has signed the request, in the last five minutes.
function is_signed(string $secret, string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $stamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!ctype_digit($stamp) || abs(time() - (int) $stamp) > 300) {
        return false;
    }
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $right = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$stamp.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $each) {
        if (hash_equals($right, $each)) {
            return true;
        }
    }
    return false;
}

// $_POST is empty: a task is no form.
$body = file_get_contents('php://input');
$secret = getenv('TASK_SECRET');
if ($secret && !is_signed($secret, $body)) {
    say(401, 'the request is not signed');
}
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$functions = ['/hello' => greet(...), '/encode' => encode(...)];
if (!isset($functions[$path])) {
    say(404, "no function does $path");
}
try {
    $task = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
} catch (JsonException $error) {
    say(400, 'the body is no JSON: ' . $error->getMessage());
}
// A warning, as of a missing parameter, is a failure, too.
set_error_handler(function (int $number, string $message): never {
    throw new ErrorException($message);
});
try {
    $lease = $_SERVER['HTTP_QUEBERT_LEASE_URL'] ?? null;
    $result = $functions[$path]($task['params'] ?? null, $lease);
} catch (GiveUp $error) {
    header('Quebert-Outcome: bury; ' . $error->getMessage());
    say(422, $error->getMessage());
} catch (Throwable $error) {
    header('Retry-After: 5');
    say(500, $error->getMessage());
}
say(200, json_encode($result, JSON_THROW_ON_ERROR), 'application/json');
