select
    row_number() over (order by sum(trips) desc, pickup_location_id asc) as place,
    pickup_zone as title,
    sum(trips)::bigint as trips,
    sum(revenue) as revenue
from {{ ref('report_named_zone_pairs') }}
group by pickup_location_id, pickup_zone
order by place
limit 10
