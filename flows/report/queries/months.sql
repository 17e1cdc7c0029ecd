select
    source_month,
    is_sample,
    raw_rows,
    trips,
    zero_passenger_trips,
    rejected_trips,
    malformed_lines,
    coalesce(warnings, 0) as warnings,
    warned_of
from trip_accounting
left join (
    select
        dataset,
        source_month,
        count(*) as warnings,
        string_agg(measure, ', ' order by measure) as warned_of
    from month_warnings
    group by dataset, source_month
) as warned using (dataset, source_month)
where :these_months
order by source_month;
