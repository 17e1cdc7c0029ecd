with warned as (

    select
        dataset,
        source_month,
        count(*) as warnings,
        string_agg(measure, ', ' order by measure) as measures
    from {{ ref('month_warnings') }}
    group by dataset, source_month

)

select
    accounting.dataset,
    accounting.source_month,
    accounting.is_sample,
    accounting.raw_rows,
    accounting.trips,
    accounting.zero_passenger_trips,
    accounting.rejected_trips,
    accounting.malformed_lines,
    coalesce(warned.warnings, 0) as warnings,
    warned.measures as warned_of
from {{ ref('trip_accounting') }} as accounting
left join warned
    on
        accounting.dataset = warned.dataset
        and accounting.source_month = warned.source_month
