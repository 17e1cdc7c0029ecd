select
    fault,
    title,
    what_is_done,
    sum(counts.trips) as trips
from trip_faults as counts
inner join known_faults using (fault)
inner join trip_accounting using (dataset, source_month)
where :these_months
group by place, fault, title, what_is_done
order by place;
