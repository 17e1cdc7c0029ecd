-- Of an average day: a month has five Mondays and four Tuesdays.
with weekdays as (
    select
        extract(isodow from day) as weekday,
        count(distinct day) as days
    from daily_trips
    where
        :these_months
        and date_trunc('month', day::timestamp) in (
            select source_month from trip_accounting where :these_months
        )
    group by weekday
)

select
    weekday,
    hour_of_day,
    round(sum(trips) / max(days), 2) as trips
from hourly_demand
inner join weekdays using (weekday)
where :these_months
group by weekday, hour_of_day
order by weekday, hour_of_day;
