-- With a join to the rejected rows, which are few; so no row of the raw month is looked at twice.
-- depends_on: {{ ref('trips') }}
with counted as materialized (

    select
        dataset,
        source_month,
        vendor_id,
        count(*) as raw_rows,
        array_agg(source_row) filter (where passenger_count = 0) as without_passengers
    from {{ ref('int_tlc__rows_unioned') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, vendor_id

),

without_passengers as (

    select
        dataset,
        source_month,
        vendor_id,
        unnest(without_passengers) as source_row
    from counted

)

select
    dataset,
    source_month,
    vendor_id,
    sum(raw_rows)::bigint as raw_rows,
    sum({{ '0' if var('keep_zero_passengers') else 'zero_passenger_trips' }})::bigint
        as zero_passenger_trips
from (

    select
        dataset,
        source_month,
        vendor_id,
        raw_rows,
        0 as zero_passenger_trips
    from counted

    union all

    select
        without_passengers.dataset,
        without_passengers.source_month,
        without_passengers.vendor_id,
        0 as raw_rows,
        1 as zero_passenger_trips
    from without_passengers
    left join {{ ref('rejected_trips') }} as rejected
        on
            without_passengers.dataset = rejected.dataset
            and without_passengers.source_month = rejected.source_month
            and without_passengers.source_row = rejected.source_row
    where rejected.source_row is null

) as counts
group by dataset, source_month, vendor_id
