/* The flights out of New York in 2013, read from the shipped tables: what the C programs here fit. */
#ifndef FLIGHTS_H
#define FLIGHTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DESTINATIONS = 101, FEATURES = 5, GROUPS = 35 };

struct flights {
    char names[DESTINATIONS][4];
    double features[DESTINATIONS * FEATURES];      /* latitude, longitude, altitude, time zone, distance */
    double counts[DESTINATIONS];                   /* over all flights */
    char groups[GROUPS][8];                        /* carrier and origin, in order of appearance */
    size_t indptr[GROUPS + 1];                     /* the same by group, in compressed rows */
    size_t indices[GROUPS * DESTINATIONS];
    double group_counts[GROUPS * DESTINATIONS];
};

static FILE *open_table(const char *directory, const char *name)
{
    char path[1024], header[256];
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "r");
    if (!file || !fgets(header, (int)sizeof header, file)) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    return file;
}

static void read_flights(const char *directory, struct flights *f)
{
    static double by_group[GROUPS][DESTINATIONS];
    char line[256];
    size_t i = 0, g, groups = 0, entries = 0;
    FILE *file = open_table(directory, "flights_items.csv");
    memset(f, 0, sizeof *f);
    memset(by_group, 0, sizeof by_group);
    while (i < DESTINATIONS && fgets(line, (int)sizeof line, file)) {
        double *x = f->features + i * FEATURES;
        char *comma = strchr(line + 4, ',');       /* the name of the airport */
        if (!comma || sscanf(comma, ",%lf,%lf,%lf,%lf,%lf", x, x + 1, x + 2, x + 3, x + 4) != FEATURES)
            exit(2);
        memcpy(f->names[i++], line, 3);
    }
    fclose(file);
    file = open_table(directory, "flights_counts.csv");
    while (fgets(line, (int)sizeof line, file)) {
        char *second = strchr(line, ','), *month = second ? strchr(second + 1, ',') : NULL, dest[4], group[8];
        double n;
        if (!month || month - line >= (long)sizeof group || sscanf(month, ",%*d,%3[^,],%lf", dest, &n) != 2)
            exit(2);
        memset(group, 0, sizeof group);
        memcpy(group, line, (size_t)(month - line));
        for (g = 0; g < groups && strcmp(group, f->groups[g]) != 0; g++) {}
        if (g == GROUPS)
            exit(2);
        if (g == groups)
            memcpy(f->groups[groups++], group, sizeof group);
        for (i = 0; i < DESTINATIONS && strcmp(dest, f->names[i]) != 0; i++) {}
        if (i == DESTINATIONS)
            exit(2);
        f->counts[i] += n;
        by_group[g][i] += n;
    }
    fclose(file);
    for (g = 0; g < GROUPS; g++) {
        for (i = 0; i < DESTINATIONS; i++) {
            if (by_group[g][i] > 0) {
                f->indices[entries] = i;
                f->group_counts[entries++] = by_group[g][i];
            }
        }
        f->indptr[g + 1] = entries;
    }
}

#endif
