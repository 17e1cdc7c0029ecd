-- Without days of other months, which some clocks have.
select
    day,
    sum(trips) as trips,
    sum(revenue) as revenue
from daily_trips
where
    :these_months
    and date_trunc('month', day::timestamp) in (
        select source_month from trip_accounting where :these_months
    )
group by day
order by day;
