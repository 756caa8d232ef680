#!/usr/bin/env php
<?php
// next_token.php [REFUSED [SECONDS]]: prints a token other than the one that the API has refused (Predis).
require is_file('vendor/autoload.php') ? 'vendor/autoload.php' : 'Predis/autoload.php';

function next_token(?string $refused, float $patience = 60): string
{
    $parameters = Predis\Connection\Parameters::parse(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
    $redis = new Predis\Client($parameters);
    $subscriber = new Predis\Client(['read_write_timeout' => $patience] + $parameters);
    $named = $refused === null ? null : substr(hash('sha256', $refused), 0, 16);
    $report = $named ? ['fingerprint' => $named, 'reason' => '401', 'source' => 'next_token.php'] : new stdClass();
    $channels = ['subscribe' => ['chitai_gorod:token:updated', 'chitai_gorod:token:failed']];
    $deadline = microtime(true) + $patience;
    try {
        foreach ($subscriber->pubSubLoop($channels) as $message) {
            if (microtime(true) > $deadline) {
                break;
            }
            $confirmed = $message->kind === 'subscribe' && $message->payload === 2;
            if ($message->kind === 'message') {
                $event = json_decode($message->payload);
                if ($event->event === 'token:failed') {
                    throw new RuntimeException($event->error);
                }
                if ($event->fingerprint === $named) {
                    continue; // this answers another client
                }
            } elseif (!$confirmed) {
                continue;
            }
            $token = $redis->get('chitai_gorod_token');
            if ($token && $token !== $refused) {
                return $token;
            }
            if ($confirmed && $redis->publish('chitai_gorod:token:invalid', json_encode($report)) === 0) {
                throw new RuntimeException('no sidecar listens', 69);
            }
        }
    } catch (Predis\Connection\ConnectionException $error) {
        if (microtime(true) < $deadline) {
            throw $error;
        }
    }
    throw new RuntimeException("no outcome in $patience s");
}

try {
    echo next_token($argv[1] ?? null, $argv[2] ?? 60), "\n";
} catch (Exception $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit($error->getCode() === 69 ? 69 : 75);
}
