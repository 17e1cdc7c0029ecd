-- Trips of which neither end is known.
select coalesce(sum(trips), 0) as trips
from zone_pairs
where
    :these_months
    and (
        pickup_borough not in ('Unknown', 'N/A') or dropoff_borough not in ('Unknown', 'N/A')
    ) is not true;
