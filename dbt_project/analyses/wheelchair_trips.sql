-- Of the passengers who ask an app for a wheelchair-accessible vehicle, how many get one, and how
-- long do they wait? Recorded in TLC's Parquet files.
select
    trips.source_month,
    licenses.company,
    count(*) as asked_for,
    sum((trips.wav_match_flag = 'Y')::integer) as came,
    round(
        percentile_cont(0.5) within group (
            order by extract(epoch from trips.pickup_datetime - trips.request_datetime) / 60
        )::numeric
    ) as median_wait_minutes
from {{ ref('fhvhv_trips') }} as trips
left join {{ ref('high_volume_licenses') }} as licenses
    on trips.hvfhs_license_num = licenses.hvfhs_license_num
where trips.wav_request_flag = 'Y'
group by trips.source_month, licenses.company
order by trips.source_month asc, asked_for desc
