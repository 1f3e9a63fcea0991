<?php
/** Counts the working days between two dates, both included, and says when so many more of them are over. */
function handler($event, $context)
{
    $free = array_fill_keys($event['holidays'] ?? [], true);
    $isWorking = fn (DateTimeImmutable $day) => $day->format('N') < 6 && !isset($free[$day->format('Y-m-d')]);
    $from = new DateTimeImmutable($event['from']);
    $until = new DateTimeImmutable($event['until']);
    $days = 0;
    foreach (new DatePeriod($from, new DateInterval('P1D'), $until->modify("+1 day")) as $day) {
        $days += (int) $isWorking($day);
    }
    for ($due = $until, $left = $event['then'] ?? 0; $left > 0; $left -= (int) $isWorking($due)) {
        $due = $due->modify('+1 day');
    }
    return ['days' => $days, 'due' => $due->format('Y-m-d')];
}
