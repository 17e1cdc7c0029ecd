-- On how many trips of the apps did the passenger agree to share the ride, and on how many was it
-- shared? The CSV files of 2019 to 2021 say only whether it was (sr_flag).
select
    trips.source_month,
    licenses.company,
    count(*) as trips,
    sum((trips.shared_request_flag = 'Y')::integer) as asked_for,
    count(*) filter (where trips.shared_match_flag = 'Y' or trips.sr_flag = 1) as shared,
    round(
        avg((trips.shared_match_flag = 'Y')::integer)
        filter (where trips.shared_request_flag = 'Y'), 4
    ) as matched_share
from {{ ref('fhvhv_trips') }} as trips
left join {{ ref('high_volume_licenses') }} as licenses
    on trips.hvfhs_license_num = licenses.hvfhs_license_num
group by trips.source_month, licenses.company
order by trips.source_month asc, trips desc
