#!/usr/bin/env php
<?php
// gateway.php: prints what the API answers; the sidecar's gateway adds the token, and replaces one that is refused.
$api = getenv('API') ?: 'http://127.0.0.1:9189/chitai_gorod';

$patience = stream_context_create(['http' => ['timeout' => 90]]);
$answer = file_get_contents("$api/search/product?phrase=redis", false, $patience);
if ($answer === false) {
    exit(1);
}
echo $answer, "\n";
