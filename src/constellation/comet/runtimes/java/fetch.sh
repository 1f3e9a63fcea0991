# Archives from the Maven repository that the platform names, for languages of the Java virtual machine.

# fetch PATH INTO: one archive, PATH as the repository has it.
fetch() {
    command -v curl > /dev/null || { echo "there is no curl on this host, which fetches archives; install the package curl" >&2; exit 1; }
    curl --fail --silent --show-error --location --retry 2 --max-time 300 --cacert "$SSL_CERT_FILE" --output "$2/${1##*/}" "$MAVEN_URL/$1"
}

# fetch_listed LIST INTO: each line is a SHA-256 and a path.
fetch_listed() {
    while read -r sum path; do
        fetch "$path" "$2"
        printf '%s  %s\n' "$sum" "$2/${path##*/}" | sha256sum --check --quiet
    done < "$1"
}

# fetch_locked LOCK INTO: what Gradle's lock file has on the class path of the program. Where gradle/verification-metadata.xml
# lies beside it, an archive must have a SHA-256 that stands there.
fetch_locked() {
    mkdir -p "$2"
    known=$(dirname "$1")/gradle/verification-metadata.xml
    grep -E '^[^#=]+:[^#=]+:[^#=]+=([^=]*,)?runtimeClasspath(,|$)' "$1" > /build/tmp/locked || :
    while IFS=: read -r group artifact rest; do
        version=${rest%%=*}
        fetch "$(printf '%s' "$group" | tr . /)/$artifact/$version/$artifact-$version.jar" "$2"
        if [ -f "$known" ] && ! grep -q "$(sha256sum < "$2/$artifact-$version.jar" | cut -d ' ' -f 1)" "$known"; then
            echo "$artifact-$version.jar does not have the SHA-256 that gradle/verification-metadata.xml says" >&2
            exit 1
        fi
    done < /build/tmp/locked
}
