#!/bin/sh
# Tonight's calls: nightly.sh LIST [DAY]. Tries again while the platform is away or another run is going on.
# Under systemd the token is the credential `token`; elsewhere IMPORTER_TOKEN or importer.toml says it.
# The night goes from noon to noon, so a retry past midnight stays in its round; to do a night again, give its day.
list=${1:?a list is needed}
round=${2:-$(date -d "12 hours ago" +%F)}
for pause_s in 60 300 900 0; do
    importer run "$list" ${CREDENTIALS_DIRECTORY:+--token-file "$CREDENTIALS_DIRECTORY/token"} \
        --once-per phone --round "$round" --list nightly --allow-rejects 1%
    code=$?
    case $code in
        7 | 9) sleep "$pause_s" ;;
        *) break ;;
    esac
done
exit "$code"
