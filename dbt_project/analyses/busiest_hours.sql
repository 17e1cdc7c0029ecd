-- When is it hard to find a taxi? Trips by weekday and hour, of the whole city.
select
    weekday,
    hour_of_day,
    sum(trips) as trips
from {{ ref('hourly_demand') }}
where dataset in ('yellow', 'green')
group by weekday, hour_of_day
order by trips desc, weekday asc, hour_of_day asc
limit 10
