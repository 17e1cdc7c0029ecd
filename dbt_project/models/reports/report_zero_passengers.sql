select
    counts.dataset,
    row_number() over (
        partition by counts.dataset order by counts.vendor_id asc nulls last
    ) as place,
    coalesce(vendors.vendor, 'Vendor ' || counts.vendor_id, 'Not recorded') as title,
    sum(counts.raw_rows)::bigint as raw_rows,
    sum(counts.zero_passenger_trips)::bigint as zero_passenger_trips
from {{ ref('zero_passengers') }} as counts
left join {{ ref('vendors') }} as vendors
    on counts.vendor_id = vendors.vendor_id
group by counts.dataset, counts.vendor_id, vendors.vendor
