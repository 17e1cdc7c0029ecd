with raw_rows as (

    select
        staged.source_month,
        count(*) as raw_rows,
        count(*) filter (
            where staged.passenger_count = 0 and rejected.source_row is null
        ) as zero_passenger_trips,
        count(rejected.source_row) as rejected_trips
    from {{ ref('stg_tlc__yellow_trips') }} as staged
    left join {{ ref('rejected_trips') }} as rejected
        on
            staged.source_month = rejected.source_month
            and staged.source_row = rejected.source_row
    group by staged.source_month

),

trips as (

    select
        source_month,
        count(*) as trips
    from {{ ref('yellow_taxi_trips') }}
    group by source_month

)

select
    loads.source_month,
    loads.load_id,
    raw_rows.raw_rows,
    coalesce(trips.trips, 0) as trips,
    raw_rows.zero_passenger_trips,
    raw_rows.rejected_trips,
    loads.malformed_lines,
    loads.source,
    loads.finished_at as loaded_at
from {{ ref('stg_tlc__loads') }} as loads
inner join raw_rows
    on loads.source_month = raw_rows.source_month
left join trips
    on loads.source_month = trips.source_month
where loads.is_current
