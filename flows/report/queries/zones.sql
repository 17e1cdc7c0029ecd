select
    coalesce(
        case when pickup_borough = 'Unknown' then 'Unknown' else pickup_zone end,
        'Zone ' || pickup_location_id, 'Not recorded'
    ) as title,
    sum(trips) as trips,
    sum(revenue) as revenue
from zone_pairs
where :these_months
group by pickup_location_id, title
order by trips desc, pickup_location_id
limit 10;
