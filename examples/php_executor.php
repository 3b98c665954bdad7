<?php
// An executor in PHP.  To try it:
//
//     $ PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:8000 examples/php_executor.php
//
// Without that variable PHP's own server does one task at a time.  In production: FPM.
declare(strict_types=1);

function say(int $status, string $text, string $type = 'text/plain'): never
{
    http_response_code($status);
    header("Content-Type: $type; charset=utf-8");
    echo $text;
    exit;
}

function greet(mixed $params): array
{
    return ['said' => 'hello, ' . $params['name']];
}

// $_POST is empty: a task is no form.
$body = file_get_contents('php://input');
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
try {
    $task = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
} catch (JsonException $error) {
    say(400, 'the body is no JSON: ' . $error->getMessage());
}
$functions = ['/hello' => greet(...)];
if (!isset($functions[$path])) {
    say(404, "no function does $path");
}
try {
    // A warning, as of a missing parameter, is a failure, too.
    set_error_handler(function (int $number, string $message): never {
        throw new ErrorException($message);
    });
    $result = $functions[$path]($task['params'] ?? null);
} catch (Throwable $error) {
    header('Retry-After: 5');
    say(500, $error->getMessage());
}
say(200, json_encode($result, JSON_THROW_ON_ERROR), 'application/json');
