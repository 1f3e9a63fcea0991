<?php
function handler($event, $context)
{
    $name = $event['name'] ?? 'world';
    return ['message' => "Hello, $name!"];
}
