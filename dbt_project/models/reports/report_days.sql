-- The days of the loaded months alone: a file may hold days for which Python has no date.
select
    day,
    sum(trips)::bigint as trips,
    coalesce(sum(revenue), 0) as revenue
from {{ ref('daily_trips') }}
where
    dataset = 'yellow'
    and date_trunc('month', day::timestamp) in (
        select months.source_month from {{ ref('report_months') }} as months
    )
group by day
