-- Counted in one scan, then laid out as a row for each flag.
with counts as (

    select
        dataset,
        source_month,
        sum(is_dropoff_before_pickup::integer) as is_dropoff_before_pickup,
        sum(is_fare_without_distance::integer) as is_fare_without_distance,
        sum(is_implausibly_fast::integer) as is_implausibly_fast,
        sum(is_implausibly_long::integer) as is_implausibly_long,
        sum(has_negative_amount::integer) as has_negative_amount,
        sum(is_outside_source_month::integer) as is_outside_source_month
    from {{ ref('trips') }}
    group by dataset, source_month

)

select
    counts.dataset,
    counts.source_month,
    flags.flag,
    flags.trips
from counts
cross join lateral (
    values
    ('is_dropoff_before_pickup', counts.is_dropoff_before_pickup),
    ('is_fare_without_distance', counts.is_fare_without_distance),
    ('is_implausibly_fast', counts.is_implausibly_fast),
    ('is_implausibly_long', counts.is_implausibly_long),
    ('has_negative_amount', counts.has_negative_amount),
    ('is_outside_source_month', counts.is_outside_source_month)
) as flags (flag, trips)
