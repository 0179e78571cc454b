/* The plain IP-in-UDP proxy in C that the flannel udp backend is measured against: one packet per system call.
 *
 *   one_packet_tun_proxy TUN LOCAL REMOTE PORT
 *
 * Makes a TUN device and carries its IPv4 packets to one peer over one UDP socket, as C proxies of this kind do: poll,
 * read, send; poll, receive, write; at both ends one is taken off the TTL. No table, no check, no offloads: the fastest
 * that one packet at a time can be.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 20, LONGEST = 65536, BURST = 64 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int open_tun(const char *name) {
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &request) < 0)
        die(name);
    return tun;
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

/* Takes one off the TTL, and what that adds off the checksum (RFC 1141); 0: the packet may not go on. */
static int hop(uint8_t *packet) {
    uint16_t word;
    if (packet[8] <= 1)
        return 0;
    packet[8]--;
    memcpy(&word, packet + 10, 2);
    uint32_t sum = ntohs(word) + 0x100u;
    word = htons((uint16_t)(sum + (sum >> 16)));
    memcpy(packet + 10, &word, 2);
    return 1;
}

int main(int count, char **words) {
    static uint8_t packet[LONGEST];
    if (count != 5)
        return fprintf(stderr, "usage: %s TUN LOCAL REMOTE PORT\n", words[0]), 2;
    int tun = open_tun(words[1]), udp = open_udp(words[2], words[3], atoi(words[4]));
    struct pollfd wait[2] = {{.fd = tun, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0)
            die("poll");
        for (int i = 0; i < BURST && wait[0].revents; i++) {
            ssize_t size = read(tun, packet, sizeof packet);
            if (size < HEADER)
                break;
            if (packet[0] >> 4 == 4 && hop(packet))
                (void)!send(udp, packet, size, 0);
        }
        for (int i = 0; i < BURST && wait[1].revents; i++) {
            ssize_t size = recv(udp, packet, sizeof packet, 0);
            if (size < HEADER)
                break;
            if (packet[0] >> 4 == 4 && hop(packet))
                (void)!write(tun, packet, size);
        }
    }
}
