select
    flags.dataset,
    meanings.place,
    flags.flag,
    meanings.meaning,
    sum(flags.trips)::bigint as trips
from {{ ref('trip_flags') }} as flags
inner join (
    values
    (1, 'is_dropoff_before_pickup', 'The dropoff is before the pickup'),
    (2, 'is_fare_without_distance', 'A fare, but no distance'),
    (3, 'is_implausibly_fast', 'Faster than {{ fastest_mph() }} miles an hour on the average'),
    (4, 'is_implausibly_long', 'Longer than {{ longest_hours() }} hours'),
    (5, 'has_negative_amount', 'An amount below zero, as in refunds and disputes'),
    (6, 'is_outside_source_month', 'The pickup is in another month than the file')
) as meanings (place, flag, meaning)
    on flags.flag = meanings.flag
group by flags.dataset, meanings.place, flags.flag, meanings.meaning
having sum(flags.trips) is not null
