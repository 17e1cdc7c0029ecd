select
    which_end,
    location_id,
    title,
    borough,
    sum(trips) as trips,
    sum(revenue) as revenue,
    sum(card_tips) as card_tips
from zone_pairs
cross join
    lateral (
        values
        ('pickup', pickup_location_id, pickup_zone, pickup_borough),
        ('dropoff', dropoff_location_id, dropoff_zone, dropoff_borough)
    ) as ends (which_end, location_id, title, borough)
where :these_months and location_id between 1 and 263
group by which_end, location_id, title, borough
order by which_end, location_id;
