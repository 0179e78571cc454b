/* The plain VXLAN proxy in C that the user VTEP is measured against: one packet per system call, no offloads.
 *
 *   one_packet_proxy NAMESPACE-FILE TAP LOCAL REMOTE PORT VNI
 *
 * Makes a TAP device in the namespace of that file, and carries its frames between two VTEPs over one UDP socket, as
 * C proxies of this kind do: poll, read, send; poll, receive, write. No switch, no table, no check: the fastest that
 * one packet at a time can be.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 8, LONGEST = 65536, BURST = 64 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int open_tap(const char *namespace, const char *name) {
    int home = open("/proc/self/ns/net", O_RDONLY), there = open(namespace, O_RDONLY);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
        die(namespace);
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0)
        die(name);
    if (setns(home, CLONE_NEWNET) < 0)
        die("setns");
    close(home);
    close(there);
    return tap;
}

static int open_udp(const char *local, const char *remote, int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)}, peer = here;
    int size = 8 << 20, udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, local, &here.sin_addr);
    inet_pton(AF_INET, remote, &peer.sin_addr);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(udp, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (udp < 0 || bind(udp, (struct sockaddr *)&here, sizeof here) < 0)
        die("bind");
    if (connect(udp, (struct sockaddr *)&peer, sizeof peer) < 0)
        die("connect");
    return udp;
}

int main(int count, char **words) {
    static uint8_t packet[HEADER + LONGEST];
    if (count != 7)
        return fprintf(stderr, "usage: %s NAMESPACE-FILE TAP LOCAL REMOTE PORT VNI\n", words[0]), 2;
    int tap = open_tap(words[1], words[2]), udp = open_udp(words[3], words[4], atoi(words[5]));
    uint32_t vni = htonl((uint32_t)atoi(words[6]) << 8);
    uint8_t header[HEADER] = {0x08};
    memcpy(header + 4, &vni, 4);
    struct pollfd wait[2] = {{.fd = tap, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0)
            die("poll");
        for (int i = 0; i < BURST && wait[0].revents; i++) {
            ssize_t size = read(tap, packet + HEADER, LONGEST);
            if (size <= 0)
                break;
            memcpy(packet, header, HEADER);
            (void)!send(udp, packet, HEADER + size, 0);
        }
        for (int i = 0; i < BURST && wait[1].revents; i++) {
            ssize_t size = recv(udp, packet, sizeof packet, 0);
            if (size <= HEADER)
                break;
            if (!memcmp(packet, header, HEADER))
                (void)!write(tap, packet + HEADER, size - HEADER);
        }
    }
}
