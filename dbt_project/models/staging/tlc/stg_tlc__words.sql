-- The words of TLC's dictionaries, in lower case, and the code that each stands for.
with words as (

    select
        'vendor_id' as code_of,
        vendor as word,
        vendor_id::text as code
    from {{ ref('vendors') }}

    union all

    select
        'rate_code_id' as code_of,
        rate_code as word,
        rate_code_id::text as code
    from {{ ref('rate_codes') }}

    union all

    select
        'payment_type_id' as code_of,
        payment_type as word,
        payment_type_id::text as code
    from {{ ref('payment_types') }}

    union all

    select
        'trip_type_id' as code_of,
        trip_type as word,
        trip_type_id::text as code
    from {{ ref('trip_types') }}

    union all

    select
        'store_and_fwd_flag' as code_of,
        meaning as word,
        store_and_fwd_flag as code
    from {{ ref('store_and_fwd_flags') }}

    union all

    select
        'request_source' as code_of,
        app as word,
        request_source as code
    from {{ ref('request_sources') }}

    union all

    select
        'hvfhs_license_num' as code_of,
        company as word,
        hvfhs_license_num as code
    from {{ ref('high_volume_licenses') }}

)

select
    code_of,
    lower(word collate "C") as word,
    code
from words
