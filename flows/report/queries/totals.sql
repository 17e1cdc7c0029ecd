select
    sum(trips) as trips,
    sum(revenue) as revenue,
    sum(fares) / nullif(sum(trips_with_fare), 0) as average_fare,
    sum(card_tips) / nullif(sum(card_fares), 0) as tip_rate,
    (
        select max(measured)
        from month_health
        inner join trip_accounting using (dataset, source_month)
        where :these_months and measure = 'median miles'
    ) as median_miles
from daily_trips
where :these_months;
