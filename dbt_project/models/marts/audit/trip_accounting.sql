-- Counted apart and stacked, not joined.
select
    months.dataset,
    months.source_month,
    loads.load_id,
    loads.is_sample,
    loads.sampled_one_in,
    months.raw_rows,
    months.trips,
    months.zero_passenger_trips,
    months.rejected_trips,
    loads.malformed_lines,
    loads.source,
    loads.finished_at as loaded_at
from (
    select
        dataset,
        source_month,
        sum(raw_rows)::bigint as raw_rows,
        sum(trips)::bigint as trips,
        sum(zero_passenger_trips)::bigint as zero_passenger_trips,
        sum(rejected_trips)::bigint as rejected_trips
    from (

        select
            dataset,
            source_month,
            raw_rows,
            0 as trips,
            zero_passenger_trips,
            0 as rejected_trips
        from {{ ref('zero_passengers') }}

        union all

        select
            dataset,
            source_month,
            0 as raw_rows,
            count(*) as trips,
            0 as zero_passenger_trips,
            0 as rejected_trips
        from {{ ref('trips') }}
        where {{ is_of_the_month() }}
        group by dataset, source_month

        union all

        select
            dataset,
            source_month,
            0 as raw_rows,
            0 as trips,
            0 as zero_passenger_trips,
            count(*) as rejected_trips
        from {{ ref('rejected_trips') }}
        group by dataset, source_month

    ) as counts
    group by dataset, source_month
) as months
inner join {{ ref('stg_tlc__loads') }} as loads
    on
        months.dataset = loads.dataset
        and months.source_month = loads.source_month
        and loads.is_current
