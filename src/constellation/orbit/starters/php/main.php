<?php
// @name@: called with the request's JSON; what it returns becomes the answer's `output`.

function handler($event, $context)
{
    $name = $event['name'] ?? 'world';
    echo "greeting $name\n"; // shown by `orbit logs @name@`
    return ['message' => "Hello, $name!"];
}
