with counts as (

    select
        count(*) filter (where is_dropoff_before_pickup) as is_dropoff_before_pickup,
        count(*) filter (where is_fare_without_distance) as is_fare_without_distance,
        count(*) filter (where is_implausibly_fast) as is_implausibly_fast,
        count(*) filter (where is_implausibly_long) as is_implausibly_long,
        count(*) filter (where has_negative_amount) as has_negative_amount,
        count(*) filter (where is_outside_source_month) as is_outside_source_month
    from {{ ref('yellow_taxi_trips') }}

)

select
    flags.place,
    flags.flag,
    flags.meaning,
    flags.trips
from counts
cross join lateral (
    values
    (
        1, 'is_dropoff_before_pickup', 'The dropoff is before the pickup',
        counts.is_dropoff_before_pickup
    ),
    (
        2, 'is_fare_without_distance', 'A fare, but no distance',
        counts.is_fare_without_distance
    ),
    (
        3, 'is_implausibly_fast', 'Faster than {{ fastest_mph() }} miles an hour on the average',
        counts.is_implausibly_fast
    ),
    (
        4, 'is_implausibly_long', 'Longer than {{ longest_hours() }} hours',
        counts.is_implausibly_long
    ),
    (
        5, 'has_negative_amount', 'An amount below zero, as in refunds and disputes',
        counts.has_negative_amount
    ),
    (
        6, 'is_outside_source_month', 'The pickup is in another month than the file',
        counts.is_outside_source_month
    )
) as flags (place, flag, meaning, trips)
