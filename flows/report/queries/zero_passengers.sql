select
    coalesce(vendor, 'Vendor ' || vendor_id, 'Not recorded') as title,
    sum(counts.raw_rows) as raw_rows,
    sum(counts.zero_passenger_trips) as zero_passenger_trips
from zero_passengers as counts
inner join trip_accounting using (dataset, source_month)
left join vendors using (vendor_id)
where :these_months
group by vendor_id, title
order by vendor_id;
