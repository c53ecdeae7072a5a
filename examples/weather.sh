#!/bin/sh
# Summarise the weather: what the container of weather.py runs. Plain sh and awk, so any small image can run it.
# usage: weather.sh DAILY.csv HOURLY.csv OUT
#
# DAILY.csv holds date,precipitation,temp_max,temp_min,wind,weather (mm, °C, m/s), HOURLY.csv date,temp (°F).
# Writes OUT/report.txt, OUT/tables/months.csv, OUT/tables/hours.csv and OUT/charts/months.svg.
set -eu
daily=$1 hourly=$2 out=$3
rows() { awk 'END { print NR - 1 }' "$1"; }
mkdir -p "$out/tables" "$out/charts"

echo "reading $(rows "$daily") days from $daily"
awk -F, '
    NR > 1 {
        m = substr($1, 6, 2) + 0
        days[m]++; rain[m] += $2; high[m] += $3; low[m] += $4
        if ($2 > 0) wet[m]++
        if (!years[substr($1, 1, 4)]++) n++
    }
    END {
        split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", name, " ")
        print "month,days,mean_high_c,mean_low_c,rain_mm_per_year,wet_days_per_year"
        for (m = 1; m <= 12; m++)
            printf "%s,%d,%.1f,%.1f,%.1f,%.1f\n",
                name[m], days[m], high[m] / days[m], low[m] / days[m], rain[m] / n, wet[m] / n
    }' "$daily" > "$out/tables/months.csv"
echo "wrote tables/months.csv"

echo "reading $(rows "$hourly") hours from $hourly"
awk -F'[,: ]' '
    NR > 1 { h = $2 + 0; n[h]++; sum[h] += ($4 - 32) / 1.8 }
    END { print "hour,mean_c"; for (h = 0; h < 24; h++) printf "%02d,%.1f\n", h, sum[h] / n[h] }
    ' "$hourly" > "$out/tables/hours.csv"
echo "wrote tables/hours.csv"

{
    awk -F, '
        NR == 2 { hot = cold = wettest = windy = $1; max = $3; min = $4; most = $2; wind = $5; first = $1 }
        NR > 2 && $3 > max { max = $3; hot = $1 }
        NR > 2 && $4 < min { min = $4; cold = $1 }
        NR > 2 && $2 > most { most = $2; wettest = $1 }
        NR > 2 && $5 > wind { wind = $5; windy = $1 }
        NR > 1 { last = $1; kinds[$6]++ }
        END {
            printf "Seattle, %s to %s\n\n", first, last
            printf "hottest   %5.1f °C   on %s\ncoldest   %5.1f °C   on %s\n", max, hot, min, cold
            printf "wettest   %5.1f mm   on %s\nwindiest  %5.1f m/s  on %s\n\n", most, wettest, wind, windy
            for (kind in kinds) printf "%-8s %4d days\n", kind, kinds[kind]
        }' "$daily"
    printf '\nrain in a year, month by month (one # is 5 mm)\n'
    awk -F, 'NR > 1 { bar = ""; for (i = 5; i <= $5; i += 5) bar = bar "#"; printf "%s %6.1f %s\n", $1, $5, bar }
        ' "$out/tables/months.csv"
} > "$out/report.txt"
echo "wrote report.txt"

awk -F, '
    BEGIN {
        print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 520 240\" font-family=\"sans-serif\" font-size=\"12\">"
        print "<text x=\"10\" y=\"20\">Seattle: mean daily low to high, °C</text>"
    }
    NR > 1 {
        x = 12 + (NR - 2) * 42; top = 215 - $3 * 6; bottom = 215 - $4 * 6
        printf "<rect x=\"%d\" y=\"%.1f\" width=\"28\" height=\"%.1f\" rx=\"4\" fill=\"tomato\"/>\n", x, top, bottom - top
        printf "<text x=\"%d\" y=\"%.1f\">%.0f</text><text x=\"%d\" y=\"232\">%s</text>\n", x + 6, top - 4, $3, x + 2, $1
    }
    END { print "</svg>" }' "$out/tables/months.csv" > "$out/charts/months.svg"
echo "wrote charts/months.svg"
